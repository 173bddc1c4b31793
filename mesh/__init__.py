"""What makes a process a member of the mesh. Knows no submission, alert or job."""
