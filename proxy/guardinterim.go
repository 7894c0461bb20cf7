package proxy

import (
	"fmt"
	"net/http"
	"net/textproto"
	"sync"
)

// maxInterim is how many interim (1xx) answers may come before the answer.
const maxInterim = 16

// interim hands interim answers on while the request waits for its answer. The
// transport may still be reading when the request is given up: nothing is
// handed on from then on.
type interim struct {
	mu   sync.Mutex
	call func(status int, h http.Header) // nil when nobody wants them, or any more
	n    int
}

// got is httptrace's Got1xxResponse. What comes of 100 (Continue) ends here: we
// have not asked for it.
func (i *interim) got(status int, h textproto.MIMEHeader) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.n++; i.n > maxInterim {
		return badAnswer(fmt.Sprintf("more than %d interim answers", maxInterim))
	}
	if status == http.StatusSwitchingProtocols {
		return badAnswer("nobody asked for another protocol")
	}
	if i.call != nil && status != http.StatusContinue {
		i.call(status, http.Header(h))
	}
	return nil
}

// end waits for a call that is under way. There is none after it.
func (i *interim) end() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.call = nil
}
