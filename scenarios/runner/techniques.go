package runner

import (
	"slices"

	"p2pmodel/core/peer"
	"p2pmodel/nat/oracle"
	"p2pmodel/scenarios"
)

// techniques is what a peer of ours may use, of the words of a scenario.
func techniques(words []string, noPunching bool) peer.Techniques {
	without := func(word string) bool { return !slices.Contains(words, word) }
	return peer.Techniques{
		RelayOnly:    noPunching,
		NoSplit:      without(scenarios.SplitPaths),
		NoPrediction: without(scenarios.Prediction),
		NoBirthday:   without(scenarios.Birthday),
	}
}

// Foreseen is what the oracle has to know of the same words: whether split paths count,
// and what is guessed.
func Foreseen(words []string) (split bool, guesses []oracle.Technique) {
	for _, word := range words {
		switch word {
		case scenarios.SplitPaths:
			split = true
		case scenarios.Prediction:
			guesses = append(guesses, oracle.Prediction)
		case scenarios.Birthday:
			guesses = append(guesses, oracle.Birthday)
		}
	}
	return split, guesses
}
