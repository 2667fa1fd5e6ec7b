"""Terms: values inside the JSON of calls, by which queries find the few calls that may match."""
