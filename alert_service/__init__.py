"""The alert service: keeps one report file for every alert."""
