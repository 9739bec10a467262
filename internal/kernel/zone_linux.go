package kernel

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/libnetwork/libnetwork/internal/firewalld"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/netns"
	"github.com/libnetwork/libnetwork/internal/rtnl"
	"github.com/libnetwork/libnetwork/internal/step"
	"github.com/libnetwork/libnetwork/types"
)

// Where firewalld runs, what our rules accept is not accepted yet: it rejects what
// comes from or goes to an interface that is in none of its zones. So the bridges
// with rules are members of a zone of ours, and a policy lets others into it.
//
// Firewalld is another program, which may be slow, dead, or not there. All that is
// said to it is said by one goroutine, which knows what is wanted and does the
// difference; an operation tells what it wants and waits for a while.

const (
	// zonePatience is how long an operation waits for firewalld, which takes some
	// 50 ms for a member, but seconds to reload. When that was in vain, nobody waits
	// until it has answered.
	zonePatience = 5 * time.Second
	// zoneIdle is how long a repair of rules waits for firewalld to be done with its
	// reload, which takes it about 1 s.
	zoneIdle = 3 * time.Second
	// zoneCall is how long one call may take, zoneReload that to reload.
	zoneCall   = 10 * time.Second
	zoneReload = time.Minute
	// zoneRetry is the first pause after a failure; pauses grow until zoneRest.
	zoneRetry = time.Second
	zoneRest  = time.Minute
	// keepPause is how long what comes is gathered, before it is written into the
	// permanent configuration. Nobody waits for that; what a reload in the meantime
	// forgets is put back.
	keepPause = 300 * time.Millisecond
	// zoneFarewell is how long the end waits for what has not been written yet.
	zoneFarewell = time.Second
	// busRest is the longest pause until a bus that is not there is looked for again.
	busRest = 5 * time.Second
)

// What is told of firewalld.
const (
	zoneRepaired   = "repair"    // something was put back
	zoneConfigured = "configure" // its permanent configuration was changed
	zoneWarned     = "warn"      // it is set up so that something does not work
)

// A zoneKeeper keeps bridges in a zone of firewalld.
type zoneKeeper struct {
	zone  firewalld.Zone
	group uint32
	host  *netns.Namespace
	rt    *rtnl.Socket
	steps *step.Counter
	log   *slog.Logger
	// bridges are those that shall be in the zone.
	bridges func() []string
	// repairRules puts our rules right, when firewalld has flushed all there are.
	repairRules func(context.Context) (model.Finding, error)
	wake        chan struct{}

	mu sync.Mutex // guards the following; before that of the kernel
	// keep says that what is not wanted stays.
	keep bool
	// asked counts what was asked, done how much of it is done.
	asked, done uint64
	// turned is closed when done has changed.
	turned chan struct{}
	// bus is the bus, nil if there is none.
	bus *firewalld.Client
	// there is the way to a firewalld that is on the bus, nil if none is. It may be
	// about to start, or busy.
	there *firewalld.Client
	// dead says that somebody has waited for it in vain.
	dead bool
	// up says that it makes sense to wait: firewalld is there, or may be, and
	// answers.
	up bool
	// lost says that firewalld has begun anew, news counts what it has told.
	lost bool
	news int
	// strict says that it rejects what we publish.
	strict bool
	// rules and foreign are told what the watch of the kernel is to tell.
	rules   func()
	foreign func(action, object string)

	// The following belong to the goroutine.

	running bool // there is one, in our namespace
	loaded  bool // zone and policy are in use
	checked bool // they are in the permanent configuration too
	clean   bool // they are not
	// reloaded says that it has been reloaded in vain, warned that it was told to be
	// strict.
	reloaded, warned bool
	members          map[string]bool   // that we have seen in the zone
	others           map[string]string // bridges in a zone of somebody else's choice
	// kept are those that are members in the permanent configuration too, of which
	// nothing is certain until checkedKept; waiting says that they will be written.
	kept        map[string]bool
	checkedKept bool
	waiting     bool
	// taken are bridges that another zone has in the permanent configuration, strange
	// members of ours that are not ours.
	taken     map[string]string
	strange   map[string]bool
	failed    string // the error that was logged
	unwritten string // that of writing members
}

func newZoneKeeper(k *Kernel) *zoneKeeper {
	return &zoneKeeper{
		zone: Zone(k.cfg.DataDir), group: k.group, host: k.host, rt: k.rt, steps: k.cfg.Steps, log: k.log,
		bridges: k.bridges, repairRules: k.RepairRules, wake: make(chan struct{}, 1), turned: make(chan struct{}),
		members: make(map[string]bool), others: make(map[string]string), kept: make(map[string]bool),
		taken: make(map[string]string), strange: make(map[string]bool),
	}
}

// set says that other bridges shall be in the zone, and waits until they are, for a
// while.
func (z *zoneKeeper) set(ctx context.Context) {
	mine := z.ask(false)
	timer := time.NewTimer(zonePatience)
	defer timer.Stop()
	for {
		z.mu.Lock()
		over, turned := z.done >= mine || !z.up, z.turned
		z.mu.Unlock()
		if over {
			return
		}
		select {
		case <-turned:
		case <-ctx.Done():
			return
		case <-timer.C:
			z.mu.Lock()
			z.up, z.dead = false, true
			z.mu.Unlock()
			z.log.Warn("firewalld does not answer; containers may be cut off by it until it does", "waited", zonePatience)
			return
		}
	}
}

// ask says that other bridges shall be in the zone. With keep nothing is taken out of
// it any more.
func (z *zoneKeeper) ask(keep bool) (number uint64) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.keep = z.keep || keep
	z.asked++
	z.nudge()
	return z.asked
}

// wanted are the bridges that shall be in the zone, nil before anybody has asked. They
// are looked up when there is a firewalld to tell. The mutex is held.
func (z *zoneKeeper) wanted() map[string]bool {
	if z.asked == 0 {
		return nil
	}
	want := make(map[string]bool)
	for _, b := range z.bridges() {
		want[b] = true
	}
	return want
}

func (z *zoneKeeper) nudge() {
	select {
	case z.wake <- struct{}{}:
	default:
	}
}

// settle says that everything up to number is done, or will not be at present. The
// mutex is held.
func (z *zoneKeeper) settle(number uint64, up bool) {
	z.done, z.up = number, up
	close(z.turned)
	z.turned = make(chan struct{})
}

// heard takes down what firewalld tells. Its rules are other ones now, and ours may
// have been flushed: also at its end.
func (z *zoneKeeper) heard(s firewalld.Signal) {
	z.mu.Lock()
	z.lost, z.dead = true, false
	z.news++
	z.there, z.up = z.bus, true
	if s == firewalld.Stopped {
		z.there, z.up = nil, false
	}
	rules := z.rules
	z.mu.Unlock()
	rules()
	z.nudge()
}

// idle waits until firewalld is done with what it does, for a while: when it reloads,
// it flushes all tables of iptables in several steps, and fails if somebody fills them
// meanwhile.
func (z *zoneKeeper) idle(ctx context.Context) {
	z.mu.Lock()
	c := z.there
	if z.dead {
		c = nil
	}
	z.mu.Unlock()
	if c == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, zoneIdle)
	defer cancel()
	if c.Idle(ctx) != nil && ctx.Err() != nil {
		z.mu.Lock()
		z.dead = true
		z.mu.Unlock()
	}
}

// watch takes those who are to be told.
func (z *zoneKeeper) watch(rules func(), foreign func(action, object string)) watch {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.rules, z.foreign = rules, foreign
	z.up = true // until it is known
	return z
}

// Run keeps the zone until ctx ends.
func (z *zoneKeeper) Run(ctx context.Context) error {
	pause := zoneRetry
	for ctx.Err() == nil {
		if c, err := firewalld.Dial(ctx, z.heard); err == nil {
			pause = zoneRetry
			z.serve(ctx, c)
			_ = c.Close()
		} else {
			z.log.Debug("no firewalld", "err", err)
		}
		z.mu.Lock()
		z.strict, z.lost = false, true
		z.bus, z.there = nil, nil
		z.settle(z.asked, false)
		z.mu.Unlock()
		wait(ctx, pause)
		pause = min(2*pause, busRest)
	}
	z.farewell(context.WithoutCancel(ctx))
	return nil
}

// wait waits for a while, or until ctx ends.
func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// serve keeps the zone as long as there is a bus.
func (z *zoneKeeper) serve(ctx context.Context, c *firewalld.Client) {
	retry := time.NewTimer(0)
	defer retry.Stop()
	keep := time.NewTimer(zoneRest)
	defer keep.Stop()
	pause, keepRetry := zoneRetry, zoneRetry
	z.forget(c)
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.Done():
			return
		case <-z.wake:
		case <-retry.C:
		case <-keep.C:
			if z.keepMembers(ctx, c) {
				keepRetry = zoneRetry
			} else {
				z.waiting = true
				keep.Reset(keepRetry)
				keepRetry = min(2*keepRetry, zoneRest)
			}
			continue
		}
		z.mu.Lock()
		asked, news := z.asked, z.news
		z.mu.Unlock()
		err := z.sync(ctx, c)
		z.mu.Lock()
		overtaken := z.news != news
		z.mu.Unlock()
		switch {
		case overtaken:
			continue // it is another one now, and will be told at once
		case ctx.Err() != nil || errors.As(err, new(types.NoServiceError)):
			return
		case err == nil:
			pause, z.failed = zoneRetry, ""
			z.mu.Lock()
			z.dead = false
			z.mu.Unlock()
		default:
			if err.Error() != z.failed {
				z.failed = err.Error()
				z.log.Warn("firewalld cannot be told of our bridges; it may cut containers off", "err", err)
			}
			retry.Reset(pause)
			pause = min(2*pause, zoneRest)
		}
		z.mu.Lock()
		if z.news == news {
			z.settle(asked, z.running && err == nil)
		}
		z.mu.Unlock()
		if !z.waiting && z.unkept() {
			z.waiting = true
			keep.Reset(keepPause)
		}
	}
}

// forget drops what is known of firewalld, since the bus is a new one.
func (z *zoneKeeper) forget(c *firewalld.Client) {
	z.running, z.reloaded, z.waiting = false, false, false
	z.mu.Lock()
	z.lost, z.bus = true, c
	z.mu.Unlock()
}
