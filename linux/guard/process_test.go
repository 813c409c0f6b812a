package guard

import (
	"os/exec"
	"sync"
	"syscall"
	"testing"
)

// A process that was killed is dead from the moment the kill returns, also in the moments in which it takes the signal
// and ends: who takes it for alive again believes that it still thaws.
func TestAKilledProcessIsDeadAtOnce(t *testing.T) {
	for range 300 {
		c := exec.Command("sleep", "60")
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		id, err := identify(c.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Process.Signal(syscall.SIGSTOP)
		_ = c.Process.Kill()
		var looks sync.WaitGroup
		for range 4 {
			looks.Go(func() {
				for range 20 {
					if id.alive() {
						t.Error("alive after its kill")
						return
					}
				}
			})
		}
		looks.Wait()
		_ = c.Wait()
		if !id.gone() {
			t.Fatal("it was reaped, and is not gone")
		}
	}
}
