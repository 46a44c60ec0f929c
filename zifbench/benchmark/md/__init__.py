"""Tasks that run a protocol of molecular dynamics and score what it made."""
