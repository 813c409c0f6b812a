package settings

import (
	"fmt"
	"math/big"
	"reflect"
	"runtime"
	"runtime/metrics"
	"snaptastic/plan/units"
	"sync/atomic"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	"golang.org/x/sys/unix"
)

// A settings file is trusted, the userdata in its expressions is not, and a line
// of either can ask for more than a machine has. So each expression is counted
// while it is evaluated: what it takes in processor time, what it makes.
const (
	maxCPUTime  = time.Second     // processor time of one evaluation
	maxWaiting  = 5 * time.Second // until it is given up from outside, however busy the machine is
	maxText     = 1 << 20         // bytes of one string
	maxTexts    = 64 << 20        // bytes of all strings that were made
	maxValues   = 1 << 20         // values inside of one
	maxVisits   = 16 << 20        // values looked at
	maxHeap     = 512 << 20       // bytes that the heap may grow by
	maxBlocks   = 1000            // blocks of one dynamic block
	maxDistinct = 1000            // elements that are all compared with each other
	maxBinary   = 1100            // binary exponent of a number: about 1e±331
)

// A budget is what one evaluation may still take. One goroutine spends it.
type budget struct {
	start   time.Duration // of the thread's processor time
	lenient bool          // see Context.Lenient
	texts   int
	visits  int
	at      atomic.Pointer[hcl.Range] // what is being evaluated
}

// exhausted unwinds an evaluation that took too much.
type exhausted struct {
	at  hcl.Range
	why string
}

// The budget travels with the variables, under a name that no expression can have.
const budgetName = " budget"

var budgetType = cty.Capsule("budget", reflect.TypeFor[budget]())

func budgetOf(scope *hcl.EvalContext) *budget {
	for ; scope != nil; scope = scope.Parent() {
		if value, ok := scope.Variables[budgetName]; ok {
			return value.EncapsulatedValue().(*budget)
		}
	}
	return nil
}

func (b *budget) fail(at hcl.Range, format string, args ...any) {
	panic(exhausted{at, fmt.Sprintf(format, args...)})
}

// spend charges a value that an expression gave. A fresh one is looked at as a
// whole; what a variable holds was when it was made.
func (b *budget) spend(at hcl.Range, value cty.Value, fresh bool) {
	if used := cpuTime() - b.start; used > maxCPUTime {
		b.fail(at, "Evaluating the settings takes more than %s, and this was not done by then.", units.Took(maxCPUTime))
	}
	if !fresh {
		b.text(at, value)
		return
	}
	values := 0
	b.walk(at, value, &values)
}

func (b *budget) walk(at hcl.Range, value cty.Value, values *int) {
	*values++
	b.visits++
	switch {
	case *values > maxValues:
		b.fail(at, "The value would hold more than %d values.", maxValues)
	case b.visits > maxVisits:
		b.fail(at, "The expressions make more than %d values.", maxVisits)
	}
	value, _ = value.Unmark()
	b.text(at, value)
	if !value.IsKnown() || value.IsNull() || !value.CanIterateElements() {
		return
	}
	for it := value.ElementIterator(); it.Next(); {
		_, element := it.Element()
		b.walk(at, element, values)
	}
}

// text charges one string, and refuses a number that would take minutes to be
// written out.
func (b *budget) text(at hcl.Range, value cty.Value) {
	value, _ = value.Unmark()
	if !value.IsKnown() || value.IsNull() {
		return
	}
	switch value.Type() {
	case cty.String:
		n := len(value.AsString())
		b.texts += n
		if n > maxText {
			b.fail(at, "The text would have more than %d bytes.", maxText)
		}
		if b.texts > maxTexts {
			b.fail(at, "The expressions make more than %d bytes of text.", maxTexts)
		}
	case cty.Number:
		if !sensible(value.AsBigFloat()) {
			b.fail(at, "The number has an exponent above %d.", maxExponent)
		}
	}
}

func sensible(number *big.Float) bool {
	exponent := number.MantExp(nil)
	return !number.IsInf() && exponent < maxBinary && exponent > -maxBinary
}

// cpuTime is what this thread has used. An evaluation stays on its thread.
func cpuTime() time.Duration {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &now)
	return time.Duration(now.Nano())
}

// within evaluates with a budget in scope. What cannot be interrupted, which
// should be nothing, is left behind after some seconds, or when it takes the
// machine's memory; the program ends soon after its mistake is said.
func within(scope *hcl.EvalContext, lenient bool, evaluate func() hcl.Diagnostics) hcl.Diagnostics {
	b := &budget{lenient: lenient}
	scope.Variables[budgetName] = cty.CapsuleVal(budgetType, b)
	done := make(chan hcl.Diagnostics, 1)
	panicked := make(chan any, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer func() {
			switch r := recover().(type) {
			case nil:
			case exhausted:
				done <- hcl.Diagnostics{mistake(r.at, "Expression too expensive", "%s", r.why)}
			default:
				panicked <- r
			}
		}()
		b.start = cpuTime()
		done <- evaluate()
	}()
	heap := heapBytes()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(maxWaiting); ; {
		select {
		case diags := <-done:
			return diags
		case r := <-panicked:
			panic(r)
		case <-tick.C:
		}
		why := ""
		if grown := heapBytes() - heap; grown > maxHeap {
			why = fmt.Sprintf("Evaluating it takes more than %d MiB of memory.", maxHeap>>20)
		} else if time.Now().After(deadline) {
			why = fmt.Sprintf("Evaluating it takes more than %s.", units.Took(maxWaiting))
		}
		if at := b.at.Load(); why != "" && at != nil {
			return hcl.Diagnostics{mistake(*at, "Expression too expensive", "%s", why)}
		}
	}
}

func heapBytes() int64 {
	s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(s)
	return int64(s[0].Value.Uint64())
}
