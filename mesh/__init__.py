"""What all processes of the mesh have in common. Knows no submission, alert or job."""
