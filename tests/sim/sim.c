#include "engine/engine.h"
#include "os/sim/sim.h"
#include <stdio.h>
static const char order[] =
	"---\ntitle: order\n---\nstateDiagram-v2\n    %% version 1\n    %% field qty: u64\n    %% field filled: u64\n"
	"    [*] --> Open : Place(q: u64) [q > 0] / qty = q\n"
	"    Open --> Open : Fill(n: u64) [n > 0 && filled + n < qty] / filled += n\n"
	"    Open --> Filled : Fill(n: u64) [filled + n == qty] / filled += n\n"
	"    Open --> Cancelled : Cancel\n    Filled --> [*]\n    Cancelled --> [*]\n";
static void go(void *arg) {
	struct hf_engine_options o = {.data_dir="data",.flush=*(int*)arg};
	struct hf_engine *e; struct hf_err err; struct hf_reply r;
	if (!hf_engine_open(&o,&e,&err)) { printf("open: %s\n", err.text); return; }
	printf("recovered %lu\n", hf_engine_committed(e));
	hf_engine_lock(e);
	hf_engine_contract_load(e, hf_span_of(order), "x", &r);
	if (r.status) printf("%s\n", r.text);
	for (int i=0;i<300;i++){ char key[16]; snprintf(key,16,"k%lu",r.lsn+i);
		struct hf_arg a={hf_span_of("q"),hf_span_of("5")};
		struct hf_send s={.contract=hf_span_of("order"),.key=hf_span_of(key),.event=hf_span_of("Place"),.args=&a,.arg_count=1,.id=hf_span_of("id")};
		hf_engine_send(e,&s,&r); if(r.status) {printf("%s\n", r.text);break;} if(i%7==0) hf_engine_flush(e); }
	hf_engine_unlock(e);
	if(!hf_engine_wait(e,r.durable_at,&err)) printf("%s\n",err.text);
	printf("durable %lu\n", hf_engine_committed(e));
	if (*(int*)arg==2) sim_crash();
	if(!hf_engine_close(e,&err)) printf("%s\n",err.text);
}
int main(void){
	for (int flush=0;flush<2;flush++){
	struct sim *sim=sim_new(1,sim_disk_new());
	for(int i=0;i<3;i++){
	int end=sim_run(sim,go,&flush); printf("%d %s io %lu trace %lx\n",end,sim_why(sim),sim_io_count(sim),sim_trace(sim));
	sim_disk_cut(sim_disk_of(sim),i);
	}
	sim_free(sim);}
}
