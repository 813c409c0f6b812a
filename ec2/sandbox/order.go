package sandbox

import (
	"cmp"
	"iter"
	"slices"
	"time"
)

// ordered keeps a table's rows sorted, oldest first: sorting for each page of a listing would be quadratic.
type ordered[T any, P row[T]] struct {
	rows   []*T
	broken bool // rows are to be gathered and sorted again at the next use
}

// manyChanges is the number of changes from which sorting again is cheaper.
const manyChanges = 64

// oldestFirst is the order of rows.
func oldestFirst[T any, P row[T]](a, b *T) int {
	createdA, idA := P(a).key()
	createdB, idB := P(b).key()
	return byAge(createdA, createdB, idA, idB)
}

func byAge(a, b time.Time, idA, idB string) int {
	return cmp.Or(a.Compare(b), cmp.Compare(idA, idB))
}

func (o *ordered[T, P]) find(created time.Time, id string) (int, bool) {
	return slices.BinarySearchFunc(o.rows, id, func(row *T, id string) int {
		itsCreated, itsID := P(row).key()
		return byAge(itsCreated, created, itsID, id)
	})
}

// note applies the rows of a change; nil deletes a row. It is called before table is updated.
func (o *ordered[T, P]) note(table, changed map[string]*T) {
	if o.broken || len(changed) > manyChanges {
		o.broken, o.rows = true, nil
		return
	}
	for id, row := range changed {
		if old := table[id]; old != nil {
			created, _ := P(old).key()
			place, there := o.find(created, id)
			if row != nil {
				if now, _ := P(row).key(); there && now.Equal(created) {
					o.rows[place] = row
					continue
				}
			}
			if there {
				o.rows = slices.Delete(o.rows, place, place+1)
			}
		}
		if row != nil {
			created, _ := P(row).key()
			place, _ := o.find(created, id)
			o.rows = slices.Insert(o.rows, place, row)
		}
	}
}

// after yields the rows of table after a position, oldest first. The zero position is before all rows.
func (o *ordered[T, P]) after(table map[string]*T, created time.Time, id string) iter.Seq[*T] {
	if o.broken {
		o.rows, o.broken = make([]*T, 0, len(table)), false
		for _, row := range table {
			o.rows = append(o.rows, row)
		}
		slices.SortFunc(o.rows, oldestFirst[T, P])
	}
	place := 0
	if id != "" {
		var there bool
		if place, there = o.find(created, id); there {
			place++
		}
	}
	return slices.Values(o.rows[place:])
}

// rowsAfter yields the rows after a position, with the changes of a transaction applied.
func rowsAfter[T any, P row[T]](changed, table map[string]*T, o *ordered[T, P], created time.Time, id string) iter.Seq[*T] {
	if len(changed) == 0 {
		return o.after(table, created, id)
	}
	every := all[T, P](changed, table)
	if id == "" {
		return every
	}
	return func(yield func(*T) bool) {
		for row := range every {
			if itsCreated, itsID := P(row).key(); byAge(itsCreated, created, itsID, id) > 0 && !yield(row) {
				return
			}
		}
	}
}
