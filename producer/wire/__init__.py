"""What the API answers, for its documentation and for the client: plain, typed documents."""
