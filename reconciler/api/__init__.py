"""Define what an action is: records only, no I/O, no clock."""
