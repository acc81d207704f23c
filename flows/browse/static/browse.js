"use strict";
const byId = (id) => document.getElementById(id);

// ---- histograms: drag over one to filter by it
for (const field of document.querySelectorAll("fieldset[data-low]")) {
  const svg = field.querySelector("svg");
  const [from, to] = field.querySelectorAll("input");
  const low = Number(field.dataset.low), high = Number(field.dataset.high);
  const valueAt = (event) => {
    const box = svg.getBoundingClientRect();
    return low + (high - low) * Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
  };
  let start = null;
  svg.addEventListener("pointerdown", (event) => { start = valueAt(event); svg.setPointerCapture(event.pointerId); });
  svg.addEventListener("pointerup", (event) => {
    if (start === null) return;
    const end = valueAt(event), step = (high - low) / 40;
    [from.value, to.value] = Math.abs(end - start) < step / 2 ? ["", ""] : [Math.min(start, end), Math.max(start, end)].map((v) => v.toPrecision(4));
    start = null;
    field.form.requestSubmit();
  });
}

// ---- scores of the classifier along a recording
function drawScores(scores, start, end) {
  const canvas = byId("scores");
  if (!canvas || !scores.values) return;
  const context = canvas.getContext("2d"), total = scores.values.length * scores.step_s;
  context.clearRect(0, 0, canvas.width, canvas.height);
  if (end) {
    context.fillStyle = "#24486e";
    context.fillRect(start / total * canvas.width, 0, (end - start) / total * canvas.width, canvas.height);
  }
  context.fillStyle = "#ffb454";
  scores.values.forEach((value, at) => {
    const x = at / scores.values.length * canvas.width;
    context.fillRect(x, canvas.height * (1 - value), Math.max(1, canvas.width / scores.values.length), 2);
  });
}
if (byId("scores")?.dataset.scores) drawScores(JSON.parse(byId("scores").dataset.scores), 0, 0);

// ---- the player: two sounds, one clock
async function startPlayer(section) {
  const canvas = byId("roll"), context = canvas.getContext("2d"), said = byId("said");
  const sounds = { recording: byId("recording"), notes: byId("notes") };
  const answer = await fetch(section.dataset.notes);
  if (!answer.ok) { said.textContent = "The notes cannot be read."; return; }
  const data = await answer.json();
  drawScores(data.scores, data.start_s, data.end_s);
  const rollHeight = 352, drawing = document.createElement("canvas"), picture = new Image();
  [drawing.width, drawing.height] = [canvas.width, canvas.height];
  const xOf = (seconds) => seconds / data.duration_s * canvas.width;
  function draw() {
    const paint = drawing.getContext("2d");
    paint.fillStyle = "#000";
    paint.fillRect(0, 0, drawing.width, drawing.height);
    if (picture.naturalWidth) { paint.globalAlpha = 0.55; paint.drawImage(picture, 0, 0, drawing.width, rollHeight); paint.globalAlpha = 1; }
    for (const [on, off, pitch, velocity] of data.notes) {
      paint.fillStyle = `hsl(${200 - velocity * 1.4} 90% ${45 + velocity / 5}%)`;
      paint.fillRect(xOf(on), rollHeight * (108 - pitch) / 88, Math.max(1.5, xOf(off - on)), 4);
    }
    for (const [on, off, controller] of data.pedals) {
      paint.fillStyle = { 64: "#7fd1ae", 66: "#d1b37f", 67: "#b07fd1" }[controller] || "#888";
      paint.fillRect(xOf(on), rollHeight + { 64: 6, 66: 26, 67: 46 }[controller], Math.max(1.5, xOf(off - on)), 14);
    }
  }
  const chosen = () => document.querySelector("input[name=sound]:checked").value;
  const playing = () => chosen() === "both" ? Object.values(sounds) : [sounds[chosen()]];
  const clock = () => playing()[0].currentTime;
  function show() {
    context.drawImage(drawing, 0, 0);
    context.fillStyle = "#fff";
    context.fillRect(xOf(clock()), 0, 2, canvas.height);
    byId("clock").textContent = `${clock().toFixed(1)} s`;
    if (!playing()[0].paused) requestAnimationFrame(show);
  }
  async function play(at) {
    Object.values(sounds).forEach((sound) => sound.pause());
    said.textContent = "";
    try {
      await Promise.all(playing().map((sound) => { sound.currentTime = at; return sound.play(); }));
      byId("play").textContent = "pause";
    } catch (error) {
      if (error.name !== "AbortError") said.textContent = "This sound cannot be played: the recording may be away.";
    }
    show();
  }
  function pause() { Object.values(sounds).forEach((sound) => sound.pause()); byId("play").textContent = "play"; show(); }
  let position = 0;
  byId("play").addEventListener("click", () => playing()[0].paused ? play(clock()) : pause());
  document.querySelectorAll("input[name=sound]").forEach((each) => {
    each.addEventListener("change", () => {
      const was = Object.values(sounds).filter((sound) => !sound.paused);
      position = was.length ? was[0].currentTime : position;
      if (was.length) play(position); else { playing().forEach((sound) => { sound.currentTime = position; }); show(); }
    });
  });
  Object.values(sounds).forEach((sound) => {
    sound.addEventListener("timeupdate", () => { if (!sound.paused) position = sound.currentTime; });
    sound.addEventListener("ended", pause);
  });
  canvas.addEventListener("click", (event) => {
    const box = canvas.getBoundingClientRect();
    position = (event.clientX - box.left) / box.width * data.duration_s;
    if (playing()[0].paused) { playing().forEach((sound) => { sound.currentTime = position; }); show(); } else play(position);
  });
  picture.addEventListener("load", () => { draw(); show(); });
  picture.src = section.dataset.picture;
  draw();
  show();
  document.addEventListener("keydown", (event) => {
    if (event.target.matches("input:not([type=radio]):not([type=checkbox]), select") || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === " " && !event.target.matches("button, input")) { event.preventDefault(); byId("play").click(); }
    const button = document.querySelector(`#review button[accesskey="${CSS.escape(event.key)}"]`);
    if (button) button.click();
  });
}
if (byId("player")) startPlayer(byId("player"));
