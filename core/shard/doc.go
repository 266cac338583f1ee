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
//	room       the state of one room, which lobby and game share: a pure machine
//	unit       lobby, game, lease and UDP servers as one shard
//	matchmaking
//	           queues of groups, by rating and latency
//	login      who clients are: signed tokens, a file of accounts
//	limits     what clients may send
//	agent      what clients reach: the service of agentv1
//	client     the other end of it
//	player     a client with a peer: logs in, enters a room, is in its mesh
//	field      the game that comes along: a pure machine
//	service    what every server process has: metrics, health, logs, reload
//
// Unlike the protocol machines of core these are servers with goroutines and
// clocks. What decides in them (leases, matchmaking, a room) takes the time as a
// parameter all the same.
package shard
