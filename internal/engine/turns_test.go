package engine

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ts turns
		first, err := ts.take(t.Context(), exclusive("sandbox", "a"))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		var mu sync.Mutex
		note := func(s string) { mu.Lock(); got = append(got, s); mu.Unlock() }
		for _, w := range []struct {
			name string
			turn turn
		}{{"reader 1", shared("sandbox", "a")}, {"writer", exclusive("sandbox", "a")}, {"reader 2", shared("sandbox", "a")}} {
			go func() {
				done, err := ts.take(context.Background(), w.turn)
				if err != nil {
					t.Error(err)
					return
				}
				note(w.name)
				synctest.Wait()
				done()
			}()
			synctest.Wait()
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := ts.take(ctx, shared("sandbox", "a")); !errors.Is(err, context.Canceled) {
			t.Errorf("take with an ended context: %v", err)
		}
		first()
	})
}

// Whatever is taken and given, a writer is alone, and nothing stays behind.
func TestTurnsExclude(t *testing.T) {
	var ts turns
	var counts [4]struct{ readers, writers atomic.Int32 }
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			for range 200 {
				k := rand.IntN(len(counts))
				c := &counts[k]
				ctx, cancel := context.WithCancel(t.Context())
				if rand.IntN(4) == 0 {
					go cancel()
				}
				if rand.IntN(3) == 0 {
					if done, err := ts.take(ctx, exclusive("x", strconv.Itoa(k))); err == nil {
						if c.writers.Add(1) != 1 || c.readers.Load() != 0 {
							t.Error("a writer is not alone")
						}
						c.writers.Add(-1)
						done()
					}
				} else if done, err := ts.take(ctx, shared("x", strconv.Itoa(k))); err == nil {
					c.readers.Add(1)
					if c.writers.Load() != 0 {
						t.Error("a reader beside a writer")
					}
					c.readers.Add(-1)
					done()
				}
				cancel()
			}
		})
	}
	wg.Wait()
	if len(ts.queues) != 0 {
		t.Errorf("%d queues left", len(ts.queues))
	}
}
