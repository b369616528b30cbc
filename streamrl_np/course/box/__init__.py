"""What stands on the student's side of the wall: it runs their code and holds no answers."""
