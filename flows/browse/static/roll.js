"use strict";
// A segment's piano roll: notes and pedals over the recording's spectrogram, with bar lines where its score is known. All of
// it, or a part that one has come closer to, which then goes with the sound.
const CLOSEST_S = 4, ROLL_HEIGHT = 352, AXIS_HEIGHT = 18;
const PEDAL_LANES = { 64: [6, "#7fd1ae"], 66: [26, "#d1b37f"], 67: [46, "#b07fd1"] };
const PEDALS = { 64: "sustain", 66: "sostenuto", 67: "soft" };
const TIMES_A_S = 10000; // of notes; the same number is in segments.py
const COLOURS = Array.from({ length: 128 }, (_, velocity) => ofVelocity(velocity));
const FONT = "11px system-ui, sans-serif";
const STEPS_S = [0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800];
const asTime = (seconds) => seconds >= 60 ? `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}` : `${+seconds.toFixed(1)} s`;

class Roll {
  constructor(section, canvas) {
    [this.section, this.canvas] = [section, canvas];
    canvas.width = Math.round(Math.min(1600, Math.max(720, canvas.clientWidth * devicePixelRatio)));
    [this.drawing, this.data, this.duration] = [layer(canvas), null, Number(section.dataset.seconds)];
    [this.from, this.to, this.clock, this.picture] = [0, this.duration, 0, null];
    this.load();
  }
  x(seconds) { return (seconds - this.from) / (this.to - this.from) * this.canvas.width; }
  load() { // the spectrogram of what is seen; of a long one a coarse picture comes first
    const [from, to] = [this.from, this.to], part = to - from < this.duration ? `&from=${from.toFixed(2)}&to=${to.toFixed(2)}` : "";
    const ask = (isCoarse) => {
      const image = new Image();
      image.addEventListener("load", () => {
        if (from !== this.from || to !== this.to) return;
        this.picture = { image, from, to };
        this.isCoarse = isCoarse;
        this.draw();
        if (isCoarse) ask(false);
      });
      image.addEventListener("error", () => { this.hasNoPicture = true; this.draw(); });
      image.src = this.section.dataset.picture + part + (isCoarse ? "&coarse=1" : "");
    };
    ask(to - from > Number(this.section.dataset.long));
  }
  draw() {
    const paint = this.drawing.getContext("2d"), { width, height } = this.drawing;
    paint.fillStyle = "#000";
    paint.fillRect(0, 0, width, height);
    if (this.picture) {
      const left = this.x(this.picture.from);
      paint.globalAlpha = 0.55;
      paint.drawImage(this.picture.image, left, 0, this.x(this.picture.to) - left, ROLL_HEIGHT);
      paint.globalAlpha = 1;
    }
    this.drawLines(paint);
    if (this.data) paint.drawImage(this.notesOfView(), 0, 0);
    this.show(this.clock);
    const pictured = this.picture ? this.isCoarse ? "with a coarse spectrogram" : "with its spectrogram" : this.hasNoPicture ? "without its spectrogram" : "notes";
    if (this.data) this.canvas.dataset.drawn = pictured;
    if (this.picture) this.canvas.dataset.pictured = Math.round(this.picture.to - this.picture.from);
    this.canvas.dataset.view = `${this.from.toFixed(1)} to ${this.to.toFixed(1)} s`;
  }
  notesOfView() { // drawn once for a view, since a picture behind them comes later, and of a long one two
    const view = `${this.from} ${this.to}`;
    if (this.notesView !== view) {
      this.notesLayer = layer(this.canvas);
      const paint = this.notesLayer.getContext("2d");
      paint.font = FONT;
      this.drawNotes(paint);
      this.notesView = view;
    }
    return this.notesLayer;
  }
  drawNotes(paint) {
    const isSeen = ([on, off]) => off >= this.from && on <= this.to;
    const width = (on, off) => Math.max(1.5, this.x(off) - this.x(on));
    const { onsets, offsets, pitches, velocities } = this.data.notes;
    for (let at = 0; at < onsets.length; at++) {
      const on = onsets[at] / TIMES_A_S, off = offsets[at] / TIMES_A_S;
      if (off < this.from || on > this.to) continue;
      paint.fillStyle = COLOURS[velocities[at]];
      paint.fillRect(this.x(on), ROLL_HEIGHT * (108 - pitches[at]) / 88, width(on, off), 4);
    }
    for (const [on, off, controller] of this.data.pedals.filter(isSeen)) {
      const [top, colour] = PEDAL_LANES[controller] || [];
      paint.fillStyle = colour;
      if (colour) paint.fillRect(this.x(on), ROLL_HEIGHT + top, width(on, off), 14);
    }
    paint.fillStyle = "#fffc";
    for (const [controller, [top]] of Object.entries(PEDAL_LANES)) {
      if (!this.data.pedals.some((press) => press[2] === Number(controller))) continue;
      paint.fillStyle = "#000c";
      paint.fillRect(0, ROLL_HEIGHT + top, paint.measureText(PEDALS[controller]).width + 7, 14);
      paint.fillStyle = "#fff";
      paint.fillText(PEDALS[controller], 3, ROLL_HEIGHT + top + 11);
    }
    this.drawVelocities(paint);
    this.drawBars(paint, this.data.bars.filter(([time]) => time >= this.from && time <= this.to));
  }
  drawVelocities(paint) { // which colour is how loud
    const left = this.canvas.width - 190, top = this.canvas.height - AXIS_HEIGHT - 12;
    for (let velocity = 1; velocity < 128; velocity += 2) {
      paint.fillStyle = ofVelocity(velocity);
      paint.fillRect(left + 62 + velocity / 2, top, 1.5, 8);
    }
    paint.fillStyle = "#fffc";
    paint.fillText("velocity 1", left, top + 8);
    paint.fillText("127", left + 130, top + 8);
  }
  drawBars(paint, bars) { // their numbers as the score counts, as many as there is room for
    let written = -100;
    paint.fillStyle = "#fffa";
    for (const [time, number] of bars) {
      const at = this.x(time);
      paint.fillRect(at, 0, 1, ROLL_HEIGHT);
      if (at - written > 36) { paint.fillText(number, at + 3, 11); written = at; }
    }
    this.canvas.dataset.bars = bars.length;
  }
  drawLines(paint) { // the Cs, and the time below
    paint.font = FONT;
    for (let pitch = 24; pitch <= 108; pitch += 12) {
      const y = ROLL_HEIGHT * (108 - pitch) / 88 + 4;
      paint.fillStyle = "#fff3";
      paint.fillRect(0, y, this.canvas.width, 1);
      paint.fillStyle = "#fffc";
      paint.fillText(`C${pitch / 12 - 1}`, 3, y - 3 < 9 ? y + 10 : y - 3);
    }
    const step = STEPS_S.find((each) => (this.to - this.from) / each < this.canvas.width / 70) || 3600;
    for (let at = Math.ceil(this.from / step) * step; at <= this.to; at += step) {
      paint.fillRect(this.x(at), this.canvas.height - AXIS_HEIGHT, 1, 5);
      paint.fillText(asTime(at), Math.min(this.x(at) + 3, this.canvas.width - 34), this.canvas.height - 5);
    }
  }
  show(clock) { // while it plays, the part that is seen goes with the sound
    this.clock = Math.min(Math.max(clock, 0), this.duration);
    if (this.to - this.from < this.duration && (this.clock < this.from || this.clock > this.to)) { this.look(this.clock - (this.to - this.from) / 10, this.to - this.from); return; }
    cursor(this.canvas, this.drawing, this.x(this.clock));
  }
  look(from, length) {
    const seen = Math.min(Math.max(length, CLOSEST_S), this.duration);
    this.from = Math.min(Math.max(from, 0), this.duration - seen);
    this.to = this.from + seen;
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => this.load(), 150); // while a key is held down, nothing is asked for
    this.draw();
  }
  closer(factor) { const length = Math.max((this.to - this.from) / factor, CLOSEST_S); this.look(this.clock - length / 2, length); }
}

async function startSegment(section) {
  const canvas = byId("roll"), roll = new Roll(section, canvas), plain = (id) => ({ element: byId(id), to: (clock) => clock, from: (time) => time });
  const player = makePlayer({ recording: plain("recording"), notes: plain("notes") }, roll.duration, (clock) => roll.show(clock));
  canvas.addEventListener("click", (event) => {
    const box = canvas.getBoundingClientRect();
    player.jump(roll.from + (event.clientX - box.left) / box.width * (roll.to - roll.from));
  });
  document.querySelectorAll("button.jump").forEach((each) => each.addEventListener("click", () => player.jump(Number(each.dataset.seconds))));
  for (const [id, factor] of [["closer", 2], ["farther", 0.5]]) byId(id).addEventListener("click", () => roll.closer(factor));
  const data = await notesOf(section);
  if (!data) return;
  roll.data = data;
  roll.draw();
  drawScores(byId("scores"), data.scores, [[data.start_s, data.end_s]]);
}
if (byId("player")) startSegment(byId("player"));
