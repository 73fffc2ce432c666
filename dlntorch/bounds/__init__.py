"""What is proved about the distance of descent from the flow: the theorem and the certificate."""
