"""What answers outside the country: a certificate authority, DNS for any name, a web for any name."""
