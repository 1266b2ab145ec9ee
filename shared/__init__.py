"""Stopline: what the functions share. Imports follow the arrow functions → wiring → shell → core."""
