// Package shard holds the words that Agents, directories and shards share: the
// names of subjects, of methods and of limits. The parts are below it:
//
//	api        protobuf messages: agentv1 for clients, insidev1 between servers
//	engine     how servers reach each other: calls, events, key-value buckets;
//	           in memory, and by NATS
//	rpc        protobuf calls over an engine: deadlines, bounded work, breakers
//	directory  shards and their leases, rooms and their owners, sessions
//	lease      who may say that a shard is alive: pure machines
//	keeper     keeps a shard's lease at the directory
//	pass       what tells a shard which session a call is for
//	history    who owned what and when, checked afterwards
//	lobby      rooms before, between and around matches; chat; presence
//	game       one actor a room: roster, tickets, account of connections
//	matchmaking, party-wise queues by rating and latency
//	agent      what clients reach: the service of agentv1
//	client     the other end of it
//	player     a client with a peer: logs in, enters a room, is in its mesh
//	service    what every server process has: metrics, health, logs, reload
//
// Unlike the protocol machines of core these are servers with goroutines and
// clocks. What decides in them (leases, matchmaking, a room) takes the time as a
// parameter all the same.
package shard
