'use strict';

// The Node.js client tests: small programs, one per job, run against a live cluster by one process.
//
// Arguments: log directory, then job names (none: all). Prints one line for each job, "PASS node Job (n s) summary" or
// "FAIL ...". Jobs that disturb the cluster run last, alone. Settings come from the environment: NAMESRV_ADDR, RUN_ID
// (makes names unique), KILL_LEADER_CMD.

const fs = require('fs');
const { Env } = require('./env');

const JOBS = {
  PushClustering: require('./jobs/push_clustering'),
  Broadcasting: require('./jobs/broadcasting'),
  TagFilter: require('./jobs/tag_filter'),
  ShardingKeyOrder: require('./jobs/sharding_key_order'),
  LeaderKill: require('./jobs/leader_kill'),
};

async function runOne(name, logDir) {
  const { run, timeoutS } = JOBS[name];
  const start = Date.now();
  const env = new Env(name, logDir);
  let good = false;
  let said;
  let timer;
  const late = new Promise((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`gave up after ${timeoutS} s`)), timeoutS * 1000);
  });
  try {
    said = await Promise.race([run(env), late]);
    good = true;
  } catch (err) {
    env.log(err.stack);
    said = err.message;
  }
  clearTimeout(timer);
  const word = good ? 'PASS' : 'FAIL';
  env.log(`${word} ${said}`);
  console.log(`${word} node ${name} (${Math.round((Date.now() - start) / 1000)} s) ${said}`);
  await env.close();
  return good;
}

async function main([logDir, ...wanted]) {
  fs.mkdirSync(logDir, { recursive: true });
  const names = wanted.length ? wanted : Object.keys(JOBS);
  const together = names.filter(name => !JOBS[name].alone);
  const results = await Promise.all(together.map(name => runOne(name, logDir)));
  for (const name of names.filter(each => JOBS[each].alone)) {
    results.push(await runOne(name, logDir));
  }
  process.exit(results.every(Boolean) ? 0 : 1);
}

main(process.argv.slice(2));
