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
	var before map[string]any // mostly there are none
	for _, name := range valueNames(c) {
		if before == nil {
			before = map[string]any{}
		}
		before[name] = c.Get(name)
	}
	return func() {
		for _, name := range valueNames(c) {
			c.Set(name, before[name])
		}
	}
}

// Echo's own context, and where in it the values are.
var (
	echoContext = reflect.TypeOf(echo.New().NewContext(nil, nil)).Elem()
	store, _    = echoContext.FieldByName("store")
)

// valueNames returns the names of the values of c, which is Echo's context or one that embeds it.
func valueNames(c echo.Context) (names []string) {
	v := reflect.Indirect(reflect.ValueOf(c))
	for v.Kind() == reflect.Struct && v.Type() != echoContext {
		v = reflect.Indirect(v.FieldByName("Context").Elem())
	}
	if v.Kind() != reflect.Struct {
		return nil
	}
	values := v.FieldByIndex(store.Index)
	if values.Kind() != reflect.Map || values.Len() == 0 {
		return nil
	}
	for name := range values.Seq() {
		names = append(names, name.String())
	}
	return names
}
