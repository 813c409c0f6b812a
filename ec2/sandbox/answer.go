package sandbox

import (
	"bytes"
	"encoding/xml"
	"net/http"
	"strconv"
	"time"
)

// answer is a finished response.
type answer struct {
	status int
	kind   string // Content-Type
	header http.Header
	skew   time.Duration // of its Date header
	body   []byte
}

// document writes an XML answer element by element.
type document struct{ bytes.Buffer }

func (d *document) text(name, value string) {
	d.WriteString("<" + name + ">")
	xml.EscapeText(d, []byte(value)) // never fails on a buffer
	d.WriteString("</" + name + ">")
}

// optional leaves an empty element out, as EC2 does.
func (d *document) optional(name, value string) {
	if value != "" {
		d.text(name, value)
	}
}

func (d *document) number(name string, value int) { d.text(name, strconv.Itoa(value)) }

func (d *document) flag(name string, value bool) { d.text(name, strconv.FormatBool(value)) }

func (d *document) instant(name string, value time.Time) {
	d.text(name, value.UTC().Format("2006-01-02T15:04:05.000Z"))
}

func (d *document) in(name string, content func()) {
	d.WriteString("<" + name + ">")
	content()
	d.WriteString("</" + name + ">")
}

// set writes a list the way EC2 does: <name><item>…</item></name>.
func set[T any](d *document, name string, items []T, content func(T)) {
	d.in(name, func() {
		for _, item := range items {
			d.in("item", func() { content(item) })
		}
	})
}

func (d *document) done() {
	d.flag("return", true)
}

// tagSet writes tags sorted by key, or nothing where there is none.
func (d *document) tagSet(tags Tags) {
	if len(tags) == 0 {
		return
	}
	set(d, "tagSet", sortedKeys(tags), func(key string) {
		d.text("key", key)
		d.text("value", tags[key].Value)
	})
}

const ec2Namespace = "http://ec2.amazonaws.com/doc/2016-11-15/"

func ec2Answer(action, requestID string, content []byte) *answer {
	var d document
	d.WriteString(xml.Header)
	d.WriteString(`<` + action + `Response xmlns="` + ec2Namespace + `">`)
	d.text("requestId", requestID)
	d.Write(content)
	d.WriteString(`</` + action + `Response>`)
	return &answer{status: http.StatusOK, kind: "text/xml;charset=UTF-8", body: d.Bytes()}
}

func ec2Refusal(r *refusal, requestID string) *answer {
	var d document
	d.WriteString(xml.Header)
	d.in("Response", func() {
		d.in("Errors", func() {
			d.in("Error", func() {
				d.text("Code", r.Code)
				d.text("Message", r.Message)
			})
		})
		d.text("RequestID", requestID)
	})
	return &answer{status: r.Status, kind: "text/xml;charset=UTF-8", body: d.Bytes()}
}
