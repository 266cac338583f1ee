package shard

// ElsewhereHeader is in the metadata of an Agent's error that says: this was not
// done here, and will not be; resume at another Agent.
const ElsewhereHeader = "P2pmodel-Elsewhere"
