package document

import (
	"fmt"
	"slices"
	"strings"
)

// Nearest gives the candidate that word was probably meant to be: the one that
// differs least (insertions, deletions, replacements and swaps of neighbours),
// if that is at most a third of the longer word. Case and the difference
// between - and _ do not count.
func Nearest(word string, candidates []string) (string, bool) {
	best, found, least := "", false, 0
	for _, c := range candidates {
		d, limit := distance(fold(word), fold(c)), max(len(word), len(c), 3)/3
		if d <= limit && (!found || d < least) {
			best, found, least = c, true, d
		}
	}
	return best, found
}

// mostNamed is how many words are a short list.
const mostNamed = 64

// Suggest gives the end of a message about an unknown word: `; did you mean
// "x"?` where a candidate is near, else the list of the candidates if it is
// short, else nothing.
func Suggest(word string, candidates []string) string {
	if near, ok := Nearest(word, candidates); ok {
		return fmt.Sprintf("; did you mean %q?", near)
	}
	if len(candidates) == 0 || len(candidates) > mostNamed {
		return ""
	}
	return "; known: " + strings.Join(candidates, ", ")
}

func fold(s string) []rune {
	return []rune(strings.ReplaceAll(strings.ToLower(s), "_", "-"))
}

// distance is the optimal string alignment distance.
func distance(a, b []rune) int {
	prev2, prev, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := range a {
		row[0] = i + 1
		for j := range b {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(prev[j]+cost, prev[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], prev2[j-1]+1)
			}
		}
		prev2, prev, row = prev, row, prev2
	}
	return prev[len(b)]
}

// Sorted gives the keys of a set of words, for Nearest and Suggest.
func Sorted[V any](set map[string]V) []string {
	words := make([]string, 0, len(set))
	for w := range set {
		words = append(words, w)
	}
	slices.Sort(words)
	return words
}
