"""What commands of several rooms share: options, exits and errors, reaching a relay, and what is known before that."""
