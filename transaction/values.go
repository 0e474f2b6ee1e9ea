package transaction

import (
	"reflect"

	"github.com/labstack/echo/v4"
)

// snapshotValues returns a function that makes the values of c, those of c.Set, again what they are now, so that an attempt
// does not find what the one before it has left.
//
// Echo has no list of them, so this looks into its context for their names, and for no more than that.
func snapshotValues(c echo.Context) (restore func()) {
	before := map[string]any{}
	for _, name := range valueNames(c) {
		before[name] = c.Get(name)
	}
	return func() {
		for _, name := range valueNames(c) {
			c.Set(name, before[name])
		}
	}
}

// valueNames returns the names of the values of c, which is Echo's context or one that embeds it.
func valueNames(c echo.Context) (names []string) {
	v := reflect.Indirect(reflect.ValueOf(c))
	for v.Kind() == reflect.Struct && v.FieldByName("Context").Kind() == reflect.Interface {
		v = reflect.Indirect(v.FieldByName("Context").Elem())
	}
	if v.Kind() != reflect.Struct || v.FieldByName("store").Kind() != reflect.Map {
		return nil
	}
	for name := range v.FieldByName("store").Seq() {
		names = append(names, name.String())
	}
	return names
}
