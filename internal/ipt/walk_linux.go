package ipt

import (
	"slices"
	"strings"

	"github.com/libnetwork/libnetwork/internal/nft"
)

// allChains is how the names of the chains of all data directories begin.
var allChains = strings.ToUpper(nft.DefaultTable) + "-"

// A walk goes through the rules of FORWARD, in their order, for the place of ours.
type walk struct {
	*listing
	before    int   // rules of others so far
	overtaken bool  // one of them is Docker's
	closed    bool  // whoever comes behind them is not asked of all
	apart     bool  // rules of others stand behind ours
	ours      []int // hooks so far
	forward   int   // of these, from 1, what leads to the forward chain,
	leads     int   // its place,
	accept    int   // and what leads to the chain that accepts

	users  bool // there is a DOCKER-USER
	others int  // rules of others in it so far
	asks   int  // the last hook of ours there, from 1
}

// pass takes the next rule. If it is of ours, it is the last hook of the table.
func (w *walk) pass(f *family, t *table, text string, ours bool) {
	target := targetOf(text)
	if ours {
		w.own(f, t, target)
		return
	}
	w.before++
	switch {
	case text == "-j "+userChain && w.place == 1 && !w.closed && !w.apart:
		// Ours stand directly before it, or nowhere yet.
		w.place = w.before + 1
		w.misplace(t, w.ours)
		return
	case target == userChain:
	case strings.HasPrefix(target, allChains) && strings.HasSuffix(target, "-"+chainGuard):
		w.closed = true
	case strings.HasPrefix(target, allChains):
		if w.overtaken && strings.HasSuffix(target, "-"+chainForward) {
			w.late = append(w.late, text) // of whoever does not run, or has not looked yet
		}
		return
	case target == "ACCEPT", isLast(text):
		w.closed = true // of what it accepts or refuses we would not be asked
	case strings.HasPrefix(target, docker):
		w.overtaken, w.closed = true, true
	}
	w.apart = w.apart || len(w.ours) > 0
}

// own takes a rule of ours.
func (w *walk) own(f *family, t *table, target string) {
	last := len(t.hooks) - 1
	switch target {
	case f.chain(chainForward):
		w.misplace(t, w.ours) // the others come behind it
		w.forward, w.leads = last+1, w.before+1
	case f.chain(chainAccept):
		w.accept = last + 1
	}
	if w.overtaken && target != f.chain(chainGuard) {
		w.misplace(t, []int{last})
	}
	w.ours = append(w.ours, last)
}

// user takes the next rule of DOCKER-USER. What the users of the chain have there comes first,
// of whatever mark: others may use its bit.
func (w *walk) user(f *family, t *table, line string, ours bool) {
	if ours {
		w.asks = len(t.hooks)
		if w.ask > 0 {
			w.misplace(t, []int{w.asks - 1})
		}
		return
	}
	w.others++
	other := nft.AcceptsFor(line)
	switch {
	case w.ask > 0:
	case strings.HasPrefix(other, nft.DefaultTable) && other != strings.ToLower(f.name), nft.Returns(line):
		w.ask = w.others
	case !strings.HasPrefix(targetOf(line), allChains) && w.asks > 0:
		w.misplace(t, []int{w.asks - 1})
	}
}

// end looks at the two of FORWARD. They are moved together, the second directly behind the first:
// where they get to may be another place by then.
func (w *walk) end(t *table) {
	wrong := func(hook int) bool { return hook == 0 || t.hooks[hook-1].misplaced }
	if wrong(w.forward) != wrong(w.accept) {
		if !wrong(w.forward) {
			w.stays = w.leads
		}
		for _, hook := range []int{w.forward, w.accept} {
			if hook > 0 {
				t.hooks[hook-1].misplaced = true
			}
		}
	}
	if w.users && w.ask == 0 {
		w.ask = w.others + 1
	}
}

func (*walk) misplace(t *table, hooks []int) {
	for _, i := range hooks {
		t.hooks[i].misplaced = true
	}
}

// isLast says whether no packet gets behind a rule.
func isLast(text string) bool {
	words := strings.Fields(text)
	return len(words) > 1 && words[0] == "-j" && slices.Contains([]string{"DROP", "REJECT", "RETURN"}, words[1])
}
