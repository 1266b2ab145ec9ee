"""The Lambda handlers, one file a trigger."""
