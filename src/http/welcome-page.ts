/** What a browser sees on `/`: where things are. */
export function welcomePage(version: string): string {
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Keyfleet</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:42rem;margin:3rem auto;padding:0 1rem}code{background:#8882;padding:.1em .3em}</style>
<h1>Keyfleet ${version}</h1>
<p>This server is up. What it answers:</p>
<ul>
<li><a href="/v1/status">/v1/status</a> shards, keys, balance, durability</li>
<li><a href="/v1/keyspaces">/v1/keyspaces</a> the keyspaces</li>
<li><a href="/v1/keyspaces/default/scan?limit=20">/v1/keyspaces/default/scan?limit=20</a> the first records</li>
<li><code>GET PUT DELETE /v1/keyspaces/default/keys/&lt;key&gt;</code> one value</li>
<li><a href="/metrics">/metrics</a> for Prometheus, <a href="/healthz">/healthz</a>, <a href="/readyz">/readyz</a></li>
</ul>
<p>All of it is described in <code>docs/http.md</code> of the package.</p>
</html>
`;
}
