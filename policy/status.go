package policy

// understood says whether the caching requirements of a final status are known
// and followed here (RFC 9111, section 5.2.2.3): those of RFC 9110.
func understood(status int) bool {
	switch {
	case status >= 200 && status <= 206,
		status >= 300 && status <= 303, status == 307, status == 308,
		status >= 400 && status <= 417,
		status == 421, status == 422, status == 426,
		status >= 500 && status <= 505:
		return true
	}
	return false
}

// storableStatus says whether any answer with this status may be stored by its
// own word, known to us or not. Those left out speak of one request or of one
// connection, not of the target: given to others they would be wrong (408,
// 412, 413, 416, 417, 421, 425, 426, 431), or their RFC forbids it (RFC 6585
// for 428, 429, 431 and 511).
func storableStatus(status int) bool {
	switch status {
	case 304, 407, 408, 412, 413, 416, 417, 421, 425, 426, 428, 429, 431, 511:
		return false
	}
	return status >= 200 && status <= 599
}
