// Package campaign draws pairs and rooms of players from a population, a mix of
// networks with weights, plays them in virtual time (package trial), and says what
// share of the population would be direct, relayed or left without a path, how fast,
// and what the relay would carry.
//
// Trial i is drawn from the campaign's seed and i alone, and all that is kept of it
// are counts. So neither the order of trials nor how they are spread over processors
// or machines changes a result: parts of a campaign are joined by adding them up.
package campaign
