package transaction

// removeUploads removes the temporary files of a multipart form that the attempt has parsed. net/http removes those of its
// own request only, and the attempt's is often a copy: of ours for [Retry] and [Context], or of a middleware further in.
func (a *attempt) removeUploads() {
	if a.final == nil || a.final.MultipartForm == nil || a.final.MultipartForm == a.request.http.MultipartForm {
		return
	}
	if err := a.final.MultipartForm.RemoveAll(); err != nil {
		a.request.config.log.ErrorContext(a.http.Context(), "transaction: remove uploaded files", "error", err)
	}
}
