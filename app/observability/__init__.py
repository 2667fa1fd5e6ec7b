"""What is seen of the running service: ids of requests, counts and times, the log's lines, traces of its own."""
