// An RTSP server for tests, on gortsplib: it takes what is published at a path and plays it to those who know the password.
//
// Usage: rtsp HOST USER PASSWORD. It chooses a port, prints it, and ends with its standard input. A path that begins
// with "moved" is answered with a redirect to the URL in its query.
package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"

	"github.com/bluenviron/gortsplib/v5"
	"github.com/bluenviron/gortsplib/v5/pkg/base"
	"github.com/bluenviron/gortsplib/v5/pkg/description"
	"github.com/bluenviron/gortsplib/v5/pkg/format"
	"github.com/bluenviron/gortsplib/v5/pkg/liberrors"
	"github.com/pion/rtp"
)

type handler struct {
	server         *gortsplib.Server
	user, password string
	mutex          sync.Mutex
	streams        map[string]*gortsplib.ServerStream
}

func (h *handler) find(conn *gortsplib.ServerConn, request *base.Request, path, query string) (
	*base.Response, *gortsplib.ServerStream, error,
) {
	if strings.HasPrefix(path, "/moved") {
		return &base.Response{StatusCode: base.StatusFound, Header: base.Header{"Location": {query}}}, nil, nil
	}
	if !conn.VerifyCredentials(request, h.user, h.password) {
		return &base.Response{StatusCode: base.StatusUnauthorized}, nil, liberrors.ErrServerAuth{}
	}
	h.mutex.Lock()
	defer h.mutex.Unlock()
	stream := h.streams[path]
	if stream == nil {
		return &base.Response{StatusCode: base.StatusNotFound}, nil, nil
	}
	return &base.Response{StatusCode: base.StatusOK}, stream, nil
}

func (h *handler) OnDescribe(ctx *gortsplib.ServerHandlerOnDescribeCtx) (
	*base.Response, *gortsplib.ServerStream, error,
) {
	return h.find(ctx.Conn, ctx.Request, ctx.Path, ctx.Query)
}

func (h *handler) OnSetup(ctx *gortsplib.ServerHandlerOnSetupCtx) (
	*base.Response, *gortsplib.ServerStream, error,
) {
	if ctx.Session.State() == gortsplib.ServerSessionStatePreRecord {
		return &base.Response{StatusCode: base.StatusOK}, nil, nil
	}
	return h.find(ctx.Conn, ctx.Request, ctx.Path, ctx.Query)
}

func (h *handler) OnAnnounce(ctx *gortsplib.ServerHandlerOnAnnounceCtx) (*base.Response, error) {
	stream := &gortsplib.ServerStream{Server: h.server, Desc: ctx.Description}
	if err := stream.Initialize(); err != nil {
		return &base.Response{StatusCode: base.StatusBadRequest}, err
	}
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.streams[ctx.Path] = stream
	return &base.Response{StatusCode: base.StatusOK}, nil
}

func (h *handler) OnPlay(*gortsplib.ServerHandlerOnPlayCtx) (*base.Response, error) {
	return &base.Response{StatusCode: base.StatusOK}, nil
}

func (h *handler) OnRecord(ctx *gortsplib.ServerHandlerOnRecordCtx) (*base.Response, error) {
	h.mutex.Lock()
	stream := h.streams[ctx.Path]
	h.mutex.Unlock()
	ctx.Session.OnPacketRTPAny(func(media *description.Media, _ format.Format, packet *rtp.Packet) {
		// With the publisher's own clock, which holds picture and sound together.
		if at, known := ctx.Session.PacketNTP(media, packet); known {
			_ = stream.WritePacketRTPWithNTP(media, packet, at)
		}
	})
	return &base.Response{StatusCode: base.StatusOK}, nil
}

func main() {
	h := &handler{user: os.Args[2], password: os.Args[3], streams: map[string]*gortsplib.ServerStream{}}
	h.server = &gortsplib.Server{Handler: h, RTSPAddress: os.Args[1] + ":0"}
	h.server.Listen = func(network, address string) (net.Listener, error) {
		listener, err := net.Listen(network, address)
		if err == nil {
			fmt.Println(listener.Addr().(*net.TCPAddr).Port)
		}
		return listener, err
	}
	if err := h.server.Start(); err != nil {
		panic(err)
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
}
