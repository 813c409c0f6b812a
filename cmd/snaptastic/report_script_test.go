package main

import (
	"strings"
	"testing"
)

// With scripts on, the page of a run gains a box that tells of the bar under the pointer, a timeline that can be enlarged, and a way from a bar to its
// row in the tables. All that is drawn is there without them.
func TestAReportGainsHoverAndZoomWithScripts(t *testing.T) {
	t.Parallel()
	chromium(t)
	r := newRig(t, 1, "ext4")
	r.must("run", "mount", "db")
	page, _ := r.reportOf("last")
	got := look[struct {
		Tip, Gone, Hash     string
		Width, Larger, Back int
		Bars                int
		Open                bool
	}](t, page, `
var tl=document.querySelector("#timeline .tl"),tip=document.getElementById("tip"),g={Width:tl.offsetWidth,Bars:document.querySelectorAll(".b[data-s]").length};
var bar=[].find.call(document.querySelectorAll("#timeline .b[data-s]"),function(b){return document.getElementById("s"+b.dataset.s).cells[0].textContent=="create-volume"});
bar.dispatchEvent(new MouseEvent("mouseover",{bubbles:true}));
g.Tip=tip.hidden?"":tip.textContent;
document.body.dispatchEvent(new MouseEvent("mouseover",{bubbles:true}));
g.Gone=tip.hidden?"":tip.textContent;
var button=function(text){return [].find.call(document.querySelectorAll("button"),function(b){return b.textContent==text})};
button("Zoom in").click();g.Larger=tl.offsetWidth;
button("Whole run").click();g.Back=tl.offsetWidth;
bar.click();
g.Open=document.getElementById("s"+bar.dataset.s).closest("details").open;g.Hash=location.hash=="#s"+bar.dataset.s?"":location.hash;
done(g)`)
	if n := strings.Count(string(page), `<i class="b `); n == 0 || n != got.Bars {
		t.Errorf("without scripts the page has %d bars, with them %d", n, got.Bars)
	}
	if !strings.HasPrefix(got.Tip, "create-volume, ") || !strings.Contains(got.Tip, "done") || !strings.Contains(got.Tip, "vol-") {
		t.Errorf("the box under the pointer says %q", got.Tip)
	}
	if got.Gone != "" {
		t.Errorf("the box stays beside the bars: %q", got.Gone)
	}
	if got.Larger < 2*got.Width-2 || got.Back != got.Width {
		t.Errorf("the timeline of %d pixels has %d after a click on Zoom in, and %d after Whole run", got.Width, got.Larger, got.Back)
	}
	if !got.Open || got.Hash != "" {
		t.Errorf("a click on a bar opens its table: %t, and leads to %q", got.Open, got.Hash)
	}
}
