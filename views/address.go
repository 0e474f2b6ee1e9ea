package views

import (
	"maps"
	"net/url"
)

// Address returns the address of the same page with a parameter set, relative to the page: "?limit=10&q=gate", say.
func Address(query url.Values, name, value string) string {
	query = maps.Clone(query)
	if query == nil {
		query = url.Values{}
	}
	query.Set(name, value)
	return "?" + query.Encode()
}
