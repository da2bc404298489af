"""The record store on Redis or Valkey: one script per verb."""
