// The way to the server: one stream of events that comes back by itself, and requests that carry the token.

const KEY = "testbed-token";

// The token stands behind # in the address, is kept for this tab, and is taken out of sight.
export function takeToken() {
  const given = location.hash.slice(1);
  if (given.length > 10) {
    sessionStorage.setItem(KEY, given);
    history.replaceState(null, "", location.pathname);
  }
  return sessionStorage.getItem(KEY);
}

export function listen(onEvent, onConnection) {
  let source;
  const open = () => {
    source = new EventSource("api/stream");
    source.onopen = () => onConnection(true);
    source.onerror = () => {
      onConnection(false);
      if (source.readyState === EventSource.CLOSED) setTimeout(open, 2000);
    };
    for (const kind of ["snapshot", "changes"]) {
      source.addEventListener(kind, (message) => onEvent(kind, JSON.parse(message.data)));
    }
  };
  open();
  addEventListener("pagehide", () => source.close());
}

export async function ask(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error((await answer.text()).slice(0, 300));
  return answer.json();
}

export async function post(path, body, token) {
  const answer = await fetch(path, {
    method: "POST",
    headers: { "content-type": "application/json", authorization: `Bearer ${token}` },
    body: JSON.stringify(body),
  });
  if (!answer.ok) {
    const text = await answer.text();
    let said = text;
    try { said = JSON.parse(text).error || text; } catch { /* plain words */ }
    throw new Error(said);
  }
}
