package views

// Form shows the form by itself: to fill in, to confirm, or to mend what was refused. As text and as JSON it is its
// Problem alone.
type Form struct {
	Problem        // why nothing was recorded; without a Detail nothing has gone wrong yet
	Value   string // what the text area holds
	Key     string // the idempotency key with which it records, so that to send it twice records once
}
