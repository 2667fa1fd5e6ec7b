"""Protection of a browser's user against pages of other sites: CORS, security headers, host and origin checks."""
