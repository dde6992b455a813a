// The session of a go-redis client, in RESP2 and RESP3; nothing may be logged.
package main

import (
	"bytes"
	"context"
	"fmt"
	"log"
	"os"
	"strings"

	"github.com/redis/go-redis/v9"
)

type logger struct{ lines bytes.Buffer }

func (l *logger) Printf(_ context.Context, format string, args ...any) {
	fmt.Fprintf(&l.lines, format+"\n", args...)
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func session(address string, protocol int) {
	ctx := context.Background()
	client := redis.NewClient(&redis.Options{Addr: address, Protocol: protocol, ClientName: "interop"})
	defer client.Close()
	must(client.Ping(ctx).Err())
	key := fmt.Sprint("go-", protocol)
	placed, err := client.Do(ctx, "HF.SEND", "order", key, "Place", "q", 1000, "p", -5, "s", "ACME").Slice()
	must(err)
	if placed[0] != "Open" || placed[1] != int64(1) {
		log.Fatal("Place: ", placed)
	}
	err = client.Do(ctx, "HF.SEND", "order", key, "Fill", "n", 1001).Err()
	if err == nil || !strings.HasPrefix(err.Error(), "REFUSED ") {
		log.Fatal("not refused: ", err)
	}
	replies, err := client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for i := 0; i < 500; i++ {
			pipe.Do(ctx, "HF.SEND", "order", key, "Fill", "n", 1)
		}
		return nil
	})
	must(err)
	last, err := replies[499].(*redis.Cmd).Slice()
	must(err)
	if last[1] != int64(501) {
		log.Fatal("pipeline: ", last)
	}
	entity, err := client.Do(ctx, "HF.GET", "order", key, "filled").Result()
	must(err)
	if protocol == 3 && entity.(map[any]any)["filled"] != "500" {
		log.Fatal("HF.GET: ", entity)
	}
	_, err = client.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
		pipe.Do(ctx, "HF.SEND", "order", key, "Cancel")
		return nil
	})
	if err == nil {
		log.Fatal("a transaction was accepted")
	}
	state, err := client.Do(ctx, "HF.COUNT", "order", "Cancelled").Int64()
	must(err)
	if state != 0 {
		log.Fatal("a refused transaction was executed")
	}
	fmt.Println("ok    go-redis RESP", protocol)
}

func main() {
	var seen logger
	redis.SetLogger(&seen)
	for _, protocol := range []int{2, 3} {
		session(os.Args[1], protocol)
	}
	if seen.lines.Len() > 0 {
		log.Fatal("go-redis logged: ", seen.lines.String())
	}
}
