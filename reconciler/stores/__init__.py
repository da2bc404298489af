"""The only code that speaks Redis or S3: protocols of verbs, and twins that pass one conformance suite."""
