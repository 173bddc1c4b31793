"""What happens later, and possibly twice: writing interactions, delivering alerts."""
