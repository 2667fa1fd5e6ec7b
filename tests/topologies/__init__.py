"""Topologies that users may have: a sharded cluster behind two routers, and a replica set of three members."""
