"""Every key that a user can type, and checking them before anything heavy is imported."""
