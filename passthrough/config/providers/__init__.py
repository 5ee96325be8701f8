"""What is known of providers' APIs, and the warnings on routes that will go wrong there."""
