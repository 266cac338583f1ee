package main

// linuxNames are the names of linuxCommands, for systems that do not have them.
var linuxNames = []string{"rootless", "up", "ps", "exec", "shell", "event", "mappings", "rules", "capture", "down"}
