"""The mesh on one machine: real parts under a supervisor, no containers, no root."""
