module bench/map

go 1.19

require github.com/puzpuzpuz/xsync/v3 v3.5.1
