"""What browsers need of a server, so that no page of another site can do with it as its reader may."""
