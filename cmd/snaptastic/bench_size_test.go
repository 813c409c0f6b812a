package main

import (
	"os"
	"strings"
	"testing"
)

// TestTheProgramStaysSmall: below 20 MB stripped, which holds as long as the
// linker can drop the operations of EC2's client that nobody calls. A look-up
// of methods by name, as text/template does it, switches that off for the whole
// program.
func TestTheProgramStaysSmall(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("links the program")
	}
	bin := program(t)
	info, err := os.Stat(bin)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%.1f MB", float64(info.Size())/1e6)
	if info.Size() >= 20e6 {
		t.Errorf("the program has %.1f MB, 20 are the most", float64(info.Size())/1e6)
	}
	body, err := os.ReadFile(bin)
	if err != nil {
		t.Fatal(err)
	}
	linked := func(function string) bool { return strings.Contains(string(body), function) }
	if !linked("service/ec2.(*Client).CreateVolume") {
		t.Fatal("this test no longer finds function names in the program")
	}
	// The client has a method for each of more than 700 operations. One that
	// nobody calls is in the program only when nothing can be dropped.
	if linked("service/ec2.(*Client).CreateTransitGatewayRouteTable") {
		t.Error("operations that nobody calls are linked in: something looks methods up by name")
	}
	if linked("go.temporal.io/") {
		t.Error("the client of Temporal is linked in: it belongs into snaptastic-fleet")
	}
	for _, culprit := range []string{"text/template.(*Template).Execute", "html/template.(*Template).Execute", "reflect.Value.MethodByName"} {
		if linked(culprit) {
			t.Errorf("%s is linked in, and with it all exported methods of what is reachable", culprit)
		}
	}
}
